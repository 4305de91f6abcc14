//! The errors of stores as a person reads them.
//!
//! Owns what is left of an error's text: whether there was an answer and, of S3's XML, the code and
//! the message. The client repeats the key at every level, and keeps the cause to the sources.

use std::error::Error;

/// How much of a foreign answer is repeated, in characters.
const SHOWN_CHARS_MAX: usize = 300;

/// An error on one line, without the key.
pub(super) fn in_words(error: &object_store::Error) -> String {
    let text = error.to_string();
    match text.split_once("status code: ") {
        Some((_, answer)) => answered(answer),
        None => format!("no success: {}", shortened(&deepest(error))),
    }
}

/// What stands behind "status code": the status and the body.
fn answered(answer: &str) -> String {
    let (status, body) = answer.split_once(':').unwrap_or((answer, ""));
    let inside = |name: &str| {
        let (_, after) = body.split_once(&format!("<{name}>"))?;
        after.split_once(&format!("</{name}>")).map(|(inside, _)| inside)
    };
    let said = match (inside("Code"), inside("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => body.to_owned(),
    };
    let said = shortened(&said);
    if said.is_empty() { status.trim().to_owned() } else { format!("{}, {said}", status.trim()) }
}

fn deepest(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => format!("{}...", &line[..cut]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl Into<Box<dyn Error + Send + Sync>>) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: source.into() }
    }

    #[test]
    fn an_answer_is_its_status_and_what_the_xml_says() {
        let xml = "Error performing PUT http://a/b/key in 5ms - Server returned non-2xx status code: \
                   404 Not Found: <?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code>\n\
                   <Message>The bucket\n does not exist</Message><Key>key</Key></Error>";
        assert_eq!(
            in_words(&generic(xml)),
            "404 Not Found, NoSuchBucket: The bucket does not exist"
        );
        let plain = "Server returned non-2xx status code: 502 Bad Gateway: try\nlater";
        assert_eq!(in_words(&generic(plain)), "502 Bad Gateway, try later");
        let empty = "Server returned non-2xx status code: 403 Forbidden: ";
        assert_eq!(in_words(&generic(empty)), "403 Forbidden");
    }

    #[test]
    fn without_an_answer_the_cause_is_told() {
        let refused = std::io::Error::other("Connection refused (os error 111)");
        assert_eq!(in_words(&generic(refused)), "no success: Connection refused (os error 111)");
    }
}
