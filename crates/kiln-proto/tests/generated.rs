//! The checked-in code for kiln.v1 is what its .proto says. `KILN_BLESS=1` writes it anew.

use std::path::Path;

#[test]
fn generated_code_is_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protos = root.join("../../proto");
    let descriptors = protox::compile([protos.join("kiln/v1/kiln.proto")], [&protos]).expect("kiln.proto compiles");
    let out = tempfile::tempdir().expect("a temporary directory");
    tonic_prost_build::configure()
        .out_dir(out.path())
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)
        .expect("code is generated");
    let fresh = std::fs::read_to_string(out.path().join("kiln.v1.rs")).expect("generated file");
    let path = root.join("src/gen/kiln.v1.rs");
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::write(&path, &fresh).expect("generated file is written");
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == fresh, "{} is stale: run KILN_BLESS=1 cargo test -p kiln-proto --test generated", path.display());
}
