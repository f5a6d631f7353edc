//! Takes from the first.
use super::First;
use crate::below::Row;
pub(crate) struct Second(Option<Box<First>>, Row);
