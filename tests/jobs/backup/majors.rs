//! Every major with its own tools.
