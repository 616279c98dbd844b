//! HTTP: verbs, lists, watches, patches, discovery, status errors.
