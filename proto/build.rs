//! Compiles the service definitions with protox: no protoc binary is needed.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["common", "enrolment", "session", "artifacts"]
        .map(|name| format!("fleet/v1/{name}.proto"));
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(&files, ["."])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
