//! Objects as bytes, one global resourceVersion, watch history, durability.
