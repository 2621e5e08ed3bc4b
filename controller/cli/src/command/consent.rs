//! Asking before an act that cannot be taken back. Without a terminal there is nobody to ask, so
//! the act needs `--yes`.

use crate::args::Consent;
use crate::failure::{Exit, Failure};
use crate::screen::Screen;

/// Shows what will happen and asks for consent.
///
/// # Errors
/// A usage failure when nobody can be asked or the answer was no; nothing was changed then.
pub async fn ask(screen: &Screen, consent: Consent, preview: &str) -> Result<(), Failure> {
    screen.note(preview);
    if consent.yes {
        return Ok(());
    }
    if !screen.can_ask() {
        return Err(Failure::usage("nothing was changed: this needs a confirmation")
            .next("add --yes if that is what you want"));
    }
    eprint!("Do it? [y/N] ");
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let answer = tokio::select! {
        answer = read => answer.ok().and_then(Result::ok).unwrap_or_default(),
        _ = tokio::signal::ctrl_c() => {
            return Err(Failure::new(Exit::Interrupted, "interrupted: nothing was changed"));
        }
    };
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::usage("nothing was changed: not confirmed")),
    }
}
