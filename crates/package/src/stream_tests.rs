use std::io::BufReader;

use proptest::prelude::*;

use super::*;

fn split(text: impl AsRef<[u8]>) -> Result<Vec<(u32, u64, String)>, Error> {
    // A tiny buffer makes every line cross a boundary.
    let mut documents = Documents::new(BufReader::with_capacity(3, text.as_ref()));
    let mut all = Vec::new();
    while let Some(Document { number, line, text }) = documents.next()? {
        all.push((number, line, text));
    }
    Ok(all)
}

fn texts(text: &str) -> Vec<String> {
    split(text)
        .unwrap()
        .into_iter()
        .map(|(_, _, text)| text)
        .collect()
}

#[test]
fn separators() {
    for (text, expected) in [
        ("a: 1\n---\nb: 2\n", vec!["a: 1\n", "b: 2\n"]),
        ("---\na: 1\n---\nb: 2\n---\n", vec!["a: 1\n", "b: 2\n"]),
        ("--- # first\na: 1\n---\t \nb: 2", vec!["a: 1\n", "b: 2"]),
        ("---# c\na: 1", vec!["a: 1"]),
        ("---\n---\n\n---\na: 1", vec!["a: 1"]),
        ("a: 1\r\n---\r\nb: 2\r\n", vec!["a: 1\r\n", "b: 2\r\n"]),
        ("\u{feff}a: 1\n", vec!["\u{feff}a: 1\n"]),
        ("\u{feff}---\na: 1\n", vec!["a: 1\n"]),
        ("a: |\n  ---\n  x\n", vec!["a: |\n  ---\n  x\n"]),
        ("a: b---c\n", vec!["a: b---c\n"]),
        ("a: 1", vec!["a: 1"]),
    ] {
        assert_eq!(texts(text), expected, "{text:?}");
    }
}

#[test]
fn empty_documents_do_not_count() {
    for text in [
        "",
        "\n",
        "  \n\t\n",
        "---\n---",
        "# only\n  # comments\n",
        "...\n",
        "  ---\n  ...\n",
        "---\n# c\n---\n",
    ] {
        assert_eq!(texts(text), Vec::<String>::new(), "{text:?}");
    }
    let numbered = split("# c\n---\na: 1\n---\n\n---\nb: 2\n").unwrap();
    assert_eq!(
        numbered,
        [(1, 3, "a: 1\n".to_owned()), (2, 7, "b: 2\n".to_owned())]
    );
    for text in ["a: 1\n  \n", "# c\na: 1\n", "#!shebang\n a: 1"] {
        assert_eq!(texts(text), [text], "{text:?}");
    }
}

#[test]
fn what_follows_a_document_end_is_not_read() {
    assert_eq!(
        texts("a: 1\n...\nb: 2\nc\n---\nd: 4\n"),
        ["a: 1\n\n\n\n", "d: 4\n"]
    );
    assert_eq!(texts("a: 1\n... # end\n: : :\n"), ["a: 1\n\n\n"]);
    assert_eq!(
        texts("...\na: 1\n"),
        ["\na: 1\n"],
        "a marker in front of the content ends nothing"
    );
    assert_eq!(texts("a: 1\n....\n"), ["a: 1\n....\n"]);
}

#[test]
fn bad_separators_are_named() {
    for (text, document, line, named) in [
        ("a: 1\n---x\n", 1, 2, "x"),
        ("----\n", 1, 1, "-"),
        (
            "a: 1\n---\nb: 2\n-----BEGIN CERTIFICATE-----\n",
            2,
            4,
            "--BEGIN CERTIFICATE-----",
        ),
        ("--- {a: 1}\n", 1, 1, "{a: 1}"),
    ] {
        match split(text).unwrap_err() {
            Error::Separator {
                document: d,
                line: l,
                text: t,
            } => {
                assert_eq!((d, l, t.as_str()), (document, line, named), "{text:?}");
            }
            other => panic!("{text:?}: {other}"),
        }
    }
}

#[test]
fn text_that_is_not_utf8_is_named() {
    match split(b"a: 1\n---\nb: 2\nc: \xff\n").unwrap_err() {
        Error::NotUtf8 { document, line } => assert_eq!((document, line), (2, 4)),
        other => panic!("{other}"),
    }
}

#[test]
fn sizes_are_bounded() {
    let at_limit = format!("a: {}\n", "x".repeat(MAX_DOCUMENT_BYTES - 4));
    assert_eq!(at_limit.len(), MAX_DOCUMENT_BYTES);
    assert_eq!(texts(&at_limit).len(), 1);
    let over = format!("b: 1\n---\na: {}\n", "x".repeat(MAX_DOCUMENT_BYTES - 3));
    assert!(matches!(
        split(over).unwrap_err(),
        Error::DocumentTooLarge { document: 2, line: 3 }
    ));

    let many = "a: 1\n---\n".repeat(MAX_DOCUMENTS as usize);
    assert_eq!(split(&many).unwrap().len(), MAX_DOCUMENTS as usize);
    assert!(matches!(
        split(many + "a: 1").unwrap_err(),
        Error::TooManyDocuments
    ));
}

/// Comment lines without end: a package of any size that takes no memory.
fn comments(bytes: u64) -> impl BufRead {
    let line = [b"#".as_slice(), &[b'x'; 1022], b"\n"].concat();
    struct Repeat(Vec<u8>, usize);
    impl Read for Repeat {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let rest = &self.0[self.1..];
            let most = rest.len().min(buffer.len());
            buffer[..most].copy_from_slice(&rest[..most]);
            self.1 = (self.1 + most) % self.0.len();
            Ok(most)
        }
    }
    // A separator now and then, so that no document is too long.
    let block = [b"---\n".as_slice(), &line.repeat(64)].concat();
    BufReader::with_capacity(64 << 10, Repeat(block, 0).take(bytes))
}

#[test]
fn a_package_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    let mut documents = Documents::new(comments(MAX_PACKAGE_BYTES));
    assert!(documents.next().unwrap().is_none());
    assert_eq!(documents.bytes, MAX_PACKAGE_BYTES);
    let mut documents = Documents::new(comments(MAX_PACKAGE_BYTES + 1));
    assert!(matches!(documents.next().unwrap_err(), Error::TooLarge));
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = split(bytes);
    }

    #[test]
    fn near_misses_never_panic(text in "(---|\\.\\.\\.|#|a: 1|\n|\r\n| |x){0,40}") {
        for (number, (found, line, text)) in split(text).into_iter().flatten().enumerate() {
            prop_assert_eq!(found as usize, number + 1);
            prop_assert!(line > 0 && !text.trim().is_empty());
        }
    }
}
