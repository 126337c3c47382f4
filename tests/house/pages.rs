//! What pages name is there: paths of this repository in backticks, relative links, and functions.
//!
//! A list item or a row of a table names a function by the path of its file and, right behind it, the function, each in
//! backticks: `src/a.rs` `f`, or `src/a.rs` `A::f` for one of a type or trait. In a row a `|` may stand between them.

use std::collections::BTreeSet;
use std::path::Path;

use crate::source::Source;

/// A path in backticks that begins with one of these is one of this repository.
const FOLDERS: [&str; 10] =
    ["src/", "crates/", "tests/", "docs/", "tools/", "charts/", "deploy/", "benches/", "examples/", ".ci/"];

/// What a page names.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Named {
    /// A file or folder, seen from the root.
    Path(String),
    /// A Rust file by its name alone.
    File(String),
    /// A function in a file.
    Function(String, String),
}

/// All that a page names, with the number of the line.
pub(crate) fn named(page: &str, text: &str) -> Vec<(usize, Named)> {
    let mut found = Vec::new();
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            let mut say = |named| found.push((index + 1, named));
            in_backticks(line, &mut say);
            links(page, line, &mut say);
        }
    }
    found
}

/// What is not there, by what is: whether there is a file or folder, in any folder after `**/`, and the functions of a
/// file.
pub(crate) fn missing(
    page: &str,
    named: Vec<(usize, Named)>,
    is_there: impl Fn(&str) -> bool,
    functions: impl Fn(&str) -> BTreeSet<String>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (line, named) in named {
        match named {
            Named::Path(path) if !is_there(&path) => found.push(format!("{page}:{line}: there is no {path}")),
            Named::File(name) if !is_there(&format!("**/{name}")) => {
                found.push(format!("{page}:{line}: there is no {name} anywhere"));
            }
            Named::Function(path, function) if is_there(&path) && !functions(&path).contains(&function) => {
                found.push(format!("{page}:{line}: there is no function {function} in {path}"));
            }
            _ => {}
        }
    }
    found
}

/// The functions of a file, each by its name alone and by its type's too.
pub(crate) fn functions(source: &Source) -> BTreeSet<String> {
    let names = source.functions.iter().map(|function| function.name.as_str());
    let short = names.clone().filter_map(|name| name.rsplit("::").next());
    names.chain(short).map(str::to_owned).collect()
}

fn in_backticks(line: &str, say: &mut impl FnMut(Named)) {
    let pieces: Vec<&str> = line.split('`').collect();
    // Every second piece stands in backticks; without a closing one the last does not.
    let spans = (1..pieces.len().saturating_sub(1)).step_by(2);
    for index in spans {
        if is_file_name(pieces[index]) {
            say(Named::File(pieces[index].to_owned()));
        }
        let Some(path) = repository_path(pieces[index]) else { continue };
        say(Named::Path(path.to_owned()));
        let joined = pieces[index + 1].chars().all(|letter| letter == ' ' || letter == '|');
        let next = pieces.get(index + 2).filter(|_| index + 3 < pieces.len());
        if let Some(function) = next.filter(|next| joined && is_function(next))
            && Path::new(path).extension().is_some_and(|extension| extension == "rs")
            && is_item(line)
        {
            say(Named::Function(path.to_owned(), function.trim_end_matches("()").to_owned()));
        }
    }
}

/// Whether it is the name of a Rust file, in whatever folder.
fn is_file_name(words: &str) -> bool {
    let name = words.strip_suffix(".rs").filter(|name| !name.is_empty());
    name.is_some_and(|name| name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-".contains(letter)))
}

/// The path at the begin of these words, as far as it is one: of a pattern, the folder that it is about.
fn repository_path(words: &str) -> Option<&str> {
    let path = words.split_whitespace().next()?;
    if !FOLDERS.iter().any(|folder| path.starts_with(folder)) {
        return None;
    }
    let pattern = path.find(['*', '{', '<', '$', '…', ':']);
    let path = pattern.map_or(path, |end| path[..end].rsplit_once('/').map_or("", |(folder, _)| folder));
    Some(path.trim_end_matches('/'))
}

fn is_function(word: &str) -> bool {
    let word = word.strip_suffix("()").unwrap_or(word);
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    let name = word.rsplit("::").next().unwrap_or_default();
    word.split("::").all(is_name) && name.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '_')
}

/// Whether a line is an item of a list or a row of a table.
fn is_item(line: &str) -> bool {
    let line = line.trim_start();
    let after_number = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
    ["- ", "* ", "| ", "|"].iter().any(|begin| line.starts_with(begin))
        || (after_number.len() < line.len() && after_number.starts_with(". "))
}

fn links(page: &str, line: &str, say: &mut impl FnMut(Named)) {
    let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
    for piece in line.split("](").skip(1) {
        let target = piece.split([')', ' ', '#']).next().unwrap_or_default();
        if target.is_empty() || target.contains(':') || target.starts_with('/') {
            continue;
        }
        let mut path: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(path.pop()),
                part => path.push(part),
            }
        }
        say(Named::Path(path.join("/")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assert_none;
    use crate::tree::{files, root, sources, text};

    fn path(path: &str) -> Named {
        Named::Path(path.to_owned())
    }

    fn function(path: &str, function: &str) -> Named {
        Named::Function(path.to_owned(), function.to_owned())
    }

    #[test]
    fn paths_links_and_functions_of_a_page_are_found() {
        let page = "See `src/a.rs`, `tests/b/` and `crates/*/Cargo.toml`, not `b/c` or `make x`.\n\
                    A [page](b.md#part), [another](../src/d.rs), [far](https://e/f).\n\
                    1. `src/a.rs` `f`: says `g`\n\
                    | `src/a.rs` | `A::f` |\n\
                    ```\n`src/none.rs` [x](y.md)\n```\n\
                    `src/a.rs` `no_item`";
        let found: Vec<Named> = named("docs/page.md", page).into_iter().map(|(_, named)| named).collect();
        let expected = [
            path("src/a.rs"),
            path("tests/b"),
            path("crates"),
            path("docs/b.md"),
            path("src/d.rs"),
            path("src/a.rs"),
            function("src/a.rs", "f"),
            path("src/a.rs"),
            function("src/a.rs", "A::f"),
            path("src/a.rs"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_path_and_a_function_that_are_not_there_are_named() {
        let source = Source::parse("src/a.rs", "impl A { fn f(&self) {} }");
        let page =
            "- `src/a.rs` `f`\n- `src/a.rs` `A::f`\n- `src/a.rs` `B::f`\n- `src/a.rs` `g`\n- `src/b.rs`\n`c.rs`\n";
        let found = missing("p.md", named("p.md", page), |path| path == source.path, |_| functions(&source));
        let expected = [
            "p.md:3: there is no function B::f in src/a.rs",
            "p.md:4: there is no function g in src/a.rs",
            "p.md:5: there is no src/b.rs",
            "p.md:6: there is no c.rs anywhere",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn every_path_and_function_that_a_page_names_is_there() {
        let mut pages = files("docs", "md");
        pages.extend(["README.md", "CONTRIBUTING.md"].map(str::to_owned));
        let is_there = |path: &str| match path.strip_prefix("**") {
            Some(name) => sources().iter().any(|source| source.path.ends_with(name)),
            None => root().join(path).exists(),
        };
        let functions_of = |path: &str| {
            let source = sources().iter().find(|source| source.path == path);
            source.map(functions).unwrap_or_default()
        };
        let found: Vec<String> =
            pages.iter().flat_map(|page| missing(page, named(page, &text(page)), is_there, functions_of)).collect();
        assert_none("that pages name are not there", &found);
    }
}
