//! Other makes of the Remote Execution API with a kiln farm: their clients on its workers, and its clients on theirs.

#[path = "reapi/bazel.rs"]
mod bazel;
#[path = "reapi/buildbox.rs"]
mod buildbox;
