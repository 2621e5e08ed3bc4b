//! Chat templates: the Jinja program in the model file that turns messages into a prompt. The
//! program is untrusted: its steps, recursion and output are bounded, and it sees only what is
//! passed to it.

use crate::tokenizer::Tokenizer;
use edgeformer_gguf::Header;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};
use std::io::Write;

/// The longest template that is accepted; real ones have some ten KiB.
const MAX_TEMPLATE_BYTES: usize = 256 << 10;
/// The longest prompt a template may produce: no context holds as many tokens.
const MAX_PROMPT_BYTES: usize = 16 << 20;
/// Template steps; a message takes about a hundred.
const MAX_STEPS: u64 = 5_000_000;
/// Nesting of calls and includes.
const MAX_RECURSION: usize = 64;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// `system`, `user` or `assistant`; templates may know others.
    pub role: String,
    /// Text.
    pub content: String,
}

/// Why a template gave no prompt.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("the chat template has {found} bytes; the limit is {MAX_TEMPLATE_BYTES}")]
    TooLong { found: usize },
    #[error("the model's chat template refuses these messages: {message}")]
    Refused { message: String },
    #[error("the prompt exceeds {MAX_PROMPT_BYTES} bytes")]
    PromptTooLong,
    #[error("the chat template failed: {0}")]
    Failed(String),
}

/// The chat template of a model.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    bos: String,
    eos: String,
}

/// Carries the message of `raise_exception` through the template engine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    let error = minijinja::Error::new(ErrorKind::InvalidOperation, message.clone());
    Err(error.with_source(Raised(message)))
}

impl ChatTemplate {
    /// A template from its source; `bos` and `eos` are the texts of those tokens.
    pub fn new(source: &str, bos: &str, eos: &str) -> Self {
        Self { source: source.to_owned(), bos: bos.to_owned(), eos: eos.to_owned() }
    }

    pub(crate) fn from_header(header: &Header, tokenizer: &Tokenizer) -> Option<Self> {
        let text = |id: Option<u32>| {
            let bytes = id.map_or(&[][..], |id| tokenizer.decode_piece(id));
            String::from_utf8_lossy(bytes).into_owned()
        };
        let source = header.str("tokenizer.chat_template")?;
        Some(Self::new(source, &text(tokenizer.bos()), &text(tokenizer.eos())))
    }

    /// The prompt for these messages. With `add_generation_prompt` it ends where the assistant's
    /// answer begins. Encode the result with `parse_special`.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<String, TemplateError> {
        if self.source.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLong { found: self.source.len() });
        }
        let mut environment = Environment::new();
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(MAX_STEPS));
        environment.set_recursion_limit(MAX_RECURSION);
        // As the reference implementation (Transformers) sets Jinja up.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(convert)?);
        environment.add_function("raise_exception", raise_exception);
        let template = environment.template_from_str(&self.source).map_err(convert)?;
        let context = context! {
            messages => messages.iter().map(value_of).collect::<Vec<_>>(),
            add_generation_prompt,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        };
        let mut out = Capped::default();
        let result = template.render_captured_to(context, &mut out).map(drop);
        if out.full {
            return Err(TemplateError::PromptTooLong);
        }
        result.map_err(convert)?;
        String::from_utf8(out.bytes).map_err(|error| TemplateError::Failed(error.to_string()))
    }
}

fn value_of(message: &ChatMessage) -> Value {
    context! { role => message.role.as_str(), content => message.content.as_str() }
}

fn convert(error: minijinja::Error) -> TemplateError {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(current) = cause {
        if let Some(Raised(message)) = current.downcast_ref() {
            return TemplateError::Refused { message: message.clone() };
        }
        cause = current.source();
    }
    TemplateError::Failed(error.to_string())
}

/// A buffer that refuses to grow beyond [`MAX_PROMPT_BYTES`].
#[derive(Default)]
struct Capped {
    bytes: Vec<u8>,
    full: bool,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > MAX_PROMPT_BYTES - self.bytes.len() {
            self.full = true;
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, content: &str) -> Result<String, TemplateError> {
        let message = ChatMessage { role: "user".into(), content: content.into() };
        ChatTemplate::new(source, "<s>", "</s>").render(&[message], true)
    }

    #[test]
    fn renders_with_tokens_python_methods_and_generation_prompt() {
        let source = "{{ bos_token }}{% for m in messages %}\n{{ m['role'].upper() }}: \
                      {{ m.content.strip() }}{{ eos_token }}{% endfor %}\
                      {% if add_generation_prompt %}A:{% endif %}";
        assert_eq!(render(source, " hi ").unwrap(), "<s>USER: hi</s>A:");
    }

    #[test]
    fn refusals_and_failures_are_told_apart() {
        let refused = render("{{ raise_exception('roles must alternate') }}", "");
        assert!(
            matches!(refused, Err(TemplateError::Refused { message }) if message == "roles must alternate")
        );
        assert!(matches!(render("{% if %}", ""), Err(TemplateError::Failed(_))));
    }

    #[test]
    fn endless_work_and_output_are_stopped() {
        let source =
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
        assert!(render(source, "").is_err());
        let source = "{% for a in range(9999) %}{{ messages[0].content }}{% endfor %}";
        let result = render(source, &"x".repeat(1 << 20));
        assert!(matches!(result, Err(TemplateError::PromptTooLong)));
    }
}
