//! Generated `kiln.v1` messages and services, the Remote Execution API, and conversions to `kiln-cas`.

pub mod convert;
pub mod grant;
pub mod home;
pub mod status;

/// The Remote Execution API, version 2.
pub use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
/// `build.bazel.semver`.
pub use bazel_remote_apis::build::bazel::semver;
/// `google.bytestream`.
pub use bazel_remote_apis::google::bytestream;
/// `google.longrunning`.
pub use bazel_remote_apis::google::longrunning;
/// The well-known types as the Remote Execution API's crate has them.
pub use bazel_remote_apis::google::protobuf;
/// `google.rpc`.
pub use bazel_remote_apis::google::rpc;

/// Version of kiln.v1 that is spoken here. It is counted up with a change after which the two sides would misunderstand each
/// other; fields and calls that the other side may lack do not count.
pub const PROTOCOL: u32 = 1;

/// kiln's own protocol: `proto/kiln/v1/kiln.proto`.
#[allow(missing_docs, clippy::all, unreachable_pub, reason = "generated code")]
pub mod v1 {
    include!("gen/kiln.v1.rs");
}
