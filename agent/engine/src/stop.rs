//! Stop strings over a stream of text: text that may be the start of one is held back until it is
//! decided.

/// Most stop strings, and most bytes of one, that are honoured; more are cut off. Bounds the work
/// per token. (OpenAI's API allows 4 strings.)
const MAX_STRINGS: usize = 16;
const MAX_BYTES: usize = 1024;

/// Watches for stop strings.
#[derive(Clone, Debug)]
pub(crate) struct StopFilter {
    strings: Vec<String>,
    held: String,
}

impl StopFilter {
    pub(crate) fn new(strings: &[String]) -> Self {
        let usable = strings.iter().filter(|text| (1..=MAX_BYTES).contains(&text.len()));
        Self { strings: usable.take(MAX_STRINGS).cloned().collect(), held: String::new() }
    }

    /// Adds text. Returns what can be shown, and whether a stop string was found (it and what
    /// follows are dropped).
    pub(crate) fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        let found = self.strings.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let keep = self.strings.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let shown = self.held.drain(..self.held.len() - keep).collect();
        (shown, false)
    }

    /// Ends the stream: what was held back is text after all.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes of the longest end of `text` that is a proper start of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let starts = stop.char_indices().map(|(at, _)| at).skip(1);
    starts.filter(|&at| text.ends_with(&stop[..at])).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stops: &[&str], pieces: &[&str], expected: &[&str], stopped: bool) {
        let stops: Vec<String> = stops.iter().map(|stop| stop.to_string()).collect();
        let mut filter = StopFilter::new(&stops);
        let mut shown = Vec::new();
        let mut hit = false;
        for piece in pieces {
            let (text, found) = filter.push(piece);
            shown.push(text);
            hit |= found;
            if found {
                break;
            }
        }
        if !hit {
            shown.push(filter.finish());
        }
        assert_eq!((shown, hit), (expected.iter().map(|s| s.to_string()).collect(), stopped));
    }

    #[test]
    fn holds_back_only_what_may_be_a_start() {
        check(&["END"], &["a E", "N", "D b"], &["a ", "", ""], true);
        check(&["END"], &["a E", "NX"], &["a ", "ENX", ""], false);
        check(&["END"], &["E", "EN", "E"], &["", "E", "EN", "E"], false);
        check(&["\n\n", "User:"], &["x\n", "\ny"], &["x", ""], true);
        check(&["bc", "abcd"], &["xabcd"], &["x"], true);
        check(&["ßä"], &["ß", "ä"], &["", ""], true);
        check(&[""], &["a"], &["a", ""], false);
        check(&[], &["a", "b"], &["a", "b", ""], false);
    }
}
