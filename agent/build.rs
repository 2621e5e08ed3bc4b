//! Records when this agent was built: no honest clock shows less, so it is the floor of the
//! agent's time.
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let seconds = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.parse::<u64>().ok())
        .or_else(|| {
            let now = std::time::SystemTime::now();
            now.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
        })
        .unwrap_or(0);
    println!("cargo:rustc-env=EDGEFORMER_BUILD_UNIX_S={seconds}");
}
