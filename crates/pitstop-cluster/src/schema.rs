//! Field tables of the built-in kinds: strict decoding, protobuf, merge keys.
