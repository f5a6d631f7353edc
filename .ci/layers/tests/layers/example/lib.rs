//! An example of a package with a circle, which is only read.
mod above;
mod below;
