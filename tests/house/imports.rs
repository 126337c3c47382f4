//! Which module of a crate imports which, by files: a module is the file that it stands in.

use std::collections::BTreeSet;

use crate::source::{Mention, Source};

/// An import by one file of another one of the same crate, outside of tests.
#[derive(Debug)]
pub(crate) struct Import {
    /// `src/state/store/mod.rs` is `["state", "store"]`.
    pub(crate) from: Vec<String>,
    pub(crate) to: Vec<String>,
    pub(crate) file: String,
    pub(crate) line: usize,
    /// As it stands there.
    pub(crate) words: String,
}

/// The imports of the crate whose root stands in `folder`, without those between a module and what is below it.
pub(crate) fn imports(folder: &str, sources: &[Source]) -> Vec<Import> {
    let files = files(folder, sources);
    let modules: BTreeSet<&[String]> = files.iter().map(|(module, _)| module.as_slice()).collect();
    let mut found = Vec::new();
    for (from, source) in &files {
        for mention in &source.mentions {
            let path = absolute(from, mention);
            let to = (0..=path.len()).rev().map(|length| &path[..length]).find(|path| modules.contains(path));
            let Some(to) = to else { continue };
            if !to.starts_with(from) && !from.starts_with(to) {
                found.push(Import {
                    from: from.clone(),
                    to: to.to_vec(),
                    file: source.path.clone(),
                    line: mention.line,
                    words: mention.segments.join("::"),
                });
            }
        }
    }
    found
}

/// The modules of the crate whose root stands in `folder`, but for those of tests.
pub(crate) fn modules(folder: &str, sources: &[Source]) -> Vec<Vec<String>> {
    files(folder, sources).into_iter().map(|(module, _)| module).collect()
}

fn files<'a>(folder: &str, sources: &'a [Source]) -> Vec<(Vec<String>, &'a Source)> {
    let mut files: Vec<(Vec<String>, &Source)> = sources
        .iter()
        .filter_map(|source| Some((module(source.path.strip_prefix(folder)?.strip_prefix('/')?)?, source)))
        .collect();
    let for_tests: Vec<Vec<String>> = files
        .iter()
        .flat_map(|(module, source)| {
            source.test_modules.iter().map(|name| [module.as_slice(), std::slice::from_ref(name)].concat())
        })
        .collect();
    files.retain(|(module, _)| !for_tests.iter().any(|tests| module.starts_with(tests)));
    files
}

/// The module of a file of a crate; none for programs, which nothing can import.
fn module(path: &str) -> Option<Vec<String>> {
    let mut segments: Vec<String> = path.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    if segments[0] == "bin" || (segments.len() == 1 && segments[0] == "main") {
        return None;
    }
    if segments.last().is_some_and(|last| last == "mod") || segments == ["lib"] {
        segments.pop();
    }
    Some(segments)
}

/// The path from the crate's root.
fn absolute(from: &[String], mention: &Mention) -> Vec<String> {
    let mut base = [from, &mention.within].concat();
    let mut rest = mention.segments.as_slice();
    while let [first, after @ ..] = rest {
        match first.as_str() {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        rest = after;
    }
    base.extend_from_slice(rest);
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_lead_from_file_to_file_by_whatever_path() {
        let sources = [
            Source::parse("src/lib.rs", "mod a; mod b;"),
            Source::parse("src/a/mod.rs", "mod c; use c::C; #[cfg(test)] mod tests;"),
            Source::parse("src/a/c.rs", "use super::super::b::B; mod d { use crate::b::f; use super::g; }"),
            Source::parse("src/a/tests.rs", "use crate::b::B;"),
            Source::parse("src/b.rs", "pub struct B;"),
        ];
        let found: Vec<_> = imports("src", &sources)
            .into_iter()
            .map(|import| format!("{} {} -> {}", import.words, import.from.join("::"), import.to.join("::")))
            .collect();
        assert_eq!(found, ["super::super::b::B a::c -> b", "crate::b::f a::c -> b"]);
    }
}
