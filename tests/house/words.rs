//! Text explains itself: it names no rows of tables that stand outside of this repository.

/// What such ids begin with. P-256 is a curve: they have two digits at most.
const ROWS: [&str; 6] = ["P", "T", "A", "PW", "TW", "AW"];

/// The ids of such rows, by line.
pub(crate) fn row_ids(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().enumerate();
    let words = lines.flat_map(|(index, line)| {
        let words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && !"-_".contains(letter));
        words.map(move |word| (index + 1, word))
    });
    words
        .filter(|(_, word)| is_row_id(word))
        .map(|(line, word)| format!("{path}:{line}: {word}: say what it stands for"))
        .collect()
}

fn is_row_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(row, number)| {
        let digits = number.chars().all(|letter| letter.is_ascii_digit());
        ROWS.contains(&row) && digits && (1..=2).contains(&number.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assert_none;
    use crate::tree::{files, text};

    #[test]
    fn the_id_of_a_row_is_named_and_a_curve_is_not() {
        // Put together here, or this file would be named.
        let page = format!("On P-256.\nIt waits ({}-8), also\nin a p-8 and GPT-4.", "P");
        assert_eq!(row_ids("a.md", &page), [format!("a.md:2: {}-8: say what it stands for", "P")]);
    }

    #[test]
    fn no_text_names_rows_of_tables_that_are_not_here() {
        let folders =
            ["benches", "charts", "crates", "deploy", "docs", "examples", "src", "tests", "tools", ".ci", ".github"];
        let extensions = ["md", "rs", "sh", "tpl", "yaml", "yml"];
        let mut paths: Vec<String> = folders
            .iter()
            .flat_map(|folder| extensions.iter().flat_map(|extension| files(folder, extension)))
            .collect();
        paths.extend(["CONTRIBUTING.md", "Makefile", "README.md", "SECURITY.md"].map(str::to_owned));
        let found: Vec<String> = paths.iter().flat_map(|path| row_ids(path, &text(path))).collect();
        assert_none("ids of rows", &found);
    }
}
