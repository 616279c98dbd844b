//! Service accounts.

use serde_json::Value;

use super::fields::list;
use super::{Column, Kind, Subresource, age};

pub(super) const KIND: Kind = Kind {
    short_names: &["sa"],
    subresources: &[Subresource::Token],
    columns: &[Column::NAME, Column::string("Secrets"), Column::AGE],
    cells: |object, now| {
        vec![
            age::name(object),
            Value::from(list(object, "/secrets").len()),
            age::age(object, now),
        ]
    },
    ..Kind::plain("ServiceAccount", "serviceaccounts", "serviceaccount")
};
