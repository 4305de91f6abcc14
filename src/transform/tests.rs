//! Steps one by one.
