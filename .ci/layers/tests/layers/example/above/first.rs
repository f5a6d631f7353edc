//! Takes from the second by the name that is passed on.
pub(crate) struct First(super::Second);
