//! What admission says about objects, in the words of Kubernetes.

pub use field_error::{FieldError, FieldErrorReason};
pub use name::{NameRule, annotations, key_problems, label_value_problems, labels, name_problems};

mod field_error;
mod name;
