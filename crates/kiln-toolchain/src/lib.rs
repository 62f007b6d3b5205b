//! Finds, identifies and packages compilers, and asks them for their built-in directories and macros.
