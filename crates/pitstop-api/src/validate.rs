//! What admission says about objects, in the words of Kubernetes.

pub use amount::{amount, amount_problem, percent_problem};
pub use field_error::{FieldError, FieldErrorReason};
pub use name::{NameRule, annotations, key_problems, label_value_problems, labels, name_problems};
pub use workload::{
    immutable, immutable_selector, label_selector_errors, selector_errors, selects, template_errors,
};

mod amount;
mod field_error;
mod name;
mod workload;
