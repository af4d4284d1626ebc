//! Twenty ways in which a start can fail.
