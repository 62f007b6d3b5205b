//! Compiler command lines and environments read into an Invocation or a Refusal. Knows no file system and runs nothing.
