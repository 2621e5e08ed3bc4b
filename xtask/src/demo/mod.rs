pub fn command(_: &[&str]) -> anyhow::Result<()> {
    Ok(())
}
