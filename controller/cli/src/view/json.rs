//! Indents JSON without parsing numbers or reordering keys: only white space changes, so what is
//! printed is what the API said.

/// Indents valid JSON by two spaces; anything else comes out unharmed but oddly broken.
pub fn indent(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut chars = json.chars().filter(not_space_outside_strings()).peekable();
    let mut in_string = false;
    let mut escaped = false;
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                if let Some(&close @ ('}' | ']')) = chars.peek() {
                    out.push(close);
                    chars.next();
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    out
}

fn not_space_outside_strings() -> impl FnMut(&char) -> bool {
    let mut in_string = false;
    let mut escaped = false;
    move |&c| {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            return true;
        }
        in_string = c == '"';
        !c.is_ascii_whitespace()
    }
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_changes() {
        let json = r#"{ "z":1.50,"a" :[], "s":"a \" [{,: \\","l":[1, {"k":{}}] }"#;
        insta::assert_snapshot!(indent(json), @r#"
        {
          "z": 1.50,
          "a": [],
          "s": "a \" [{,: \\",
          "l": [
            1,
            {
              "k": {}
            }
          ]
        }
        "#);
        assert_eq!(indent("[]"), "[]");
        assert_eq!(indent(""), "");
    }
}
