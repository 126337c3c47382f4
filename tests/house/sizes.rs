//! How large files, functions and folders may be.

use std::collections::BTreeMap;

use crate::source::Source;

const LINES_OF_A_FILE: usize = 500;
const LINES_OF_A_FUNCTION: usize = 80;
const PARAMETERS: usize = 7;
const FILES_OF_A_FOLDER: usize = 12;

/// What is larger than it may be.
pub(crate) fn too_large(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for Source { path, lines, functions, .. } in sources {
        if *lines > LINES_OF_A_FILE {
            found.push(format!("{path} has {lines} lines, and may have {LINES_OF_A_FILE}"));
        }
        for function in functions {
            let (name, line) = (&function.name, function.line);
            if function.lines > LINES_OF_A_FUNCTION {
                let lines = function.lines;
                found.push(format!("{path}:{line}: {name} has {lines} lines, and may have {LINES_OF_A_FUNCTION}"));
            }
            if function.parameters > PARAMETERS {
                let parameters = function.parameters;
                found.push(format!("{path}:{line}: {name} has {parameters} parameters, and may have {PARAMETERS}"));
            }
        }
        let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
        *folders.entry(folder).or_default() += 1;
    }
    for (folder, files) in folders {
        if files > FILES_OF_A_FOLDER {
            found.push(format!("{folder} has {files} files beside each other, and may have {FILES_OF_A_FOLDER}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assert_none;
    use crate::tree::sources;

    #[test]
    fn a_long_file_and_a_long_function_are_named() {
        let text = format!("fn a() {{\n{}}}\n{}", "\n".repeat(79), "\n".repeat(420));
        let found = too_large(&[Source::parse("src/a.rs", &text)]);
        assert_eq!(found, ["src/a.rs has 501 lines, and may have 500", "src/a.rs:1: a has 81 lines, and may have 80"]);
    }

    #[test]
    fn a_constructor_with_eight_parameters_is_named() {
        let text = "impl A { fn new(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> Self { Self } }";
        let found = too_large(&[Source::parse("src/a.rs", text)]);
        assert_eq!(found, ["src/a.rs:1: A::new has 8 parameters, and may have 7"]);
    }

    #[test]
    fn a_folder_with_thirteen_files_is_named() {
        let sources: Vec<Source> = (0..13).map(|number| Source::parse(&format!("src/a/f{number}.rs"), "")).collect();
        assert_eq!(too_large(&sources), ["src/a has 13 files beside each other, and may have 12"]);
        assert_eq!(too_large(&sources[1..]), Vec::<String>::new());
    }

    #[test]
    fn no_file_no_function_and_no_folder_is_too_large() {
        assert_none("larger than they may be", &too_large(sources()));
    }

    #[test]
    fn every_module_stands_where_its_name_says() {
        let found: Vec<String> = sources()
            .iter()
            .flat_map(|source| source.path_attributes.iter().map(move |line| format!("{}:{line}", source.path)))
            .collect();
        assert_none("#[path] attributes", &found);
    }

    #[test]
    fn a_path_attribute_is_found() {
        let source = Source::parse("src/a.rs", "mod b;\n#[path = \"../c.rs\"]\nmod c;\n");
        assert_eq!(source.path_attributes, [2]);
    }
}
