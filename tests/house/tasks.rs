//! Every task of the operator is watched: none is started by hand, where its panic would be seen by nobody.

use crate::source::Source;

/// The lines of the operator that start a task by hand.
pub(crate) fn unwatched(folder: &str, sources: &[Source]) -> Vec<String> {
    let of_folder = sources.iter().filter(|source| source.path.starts_with(&format!("{folder}/")));
    of_folder
        .flat_map(|source| {
            let named = move |line: &usize| format!("{}:{line}: use TermTasks, which sees a panic", source.path);
            source.spawns.iter().map(named)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assert_none;
    use crate::tree::sources;

    #[test]
    fn a_task_that_is_started_by_hand_is_named_unless_it_is_a_tests() {
        let text = "fn f() {\n tokio::spawn(g());\n tokio::task::spawn(g());\n}\n#[cfg(test)] mod t { fn f() { tokio::spawn(g()); } }";
        let found = unwatched("src", &[Source::parse("src/a.rs", text), Source::parse("crates/b/src/a.rs", text)]);
        assert_eq!(found, [2, 3].map(|line| format!("src/a.rs:{line}: use TermTasks, which sees a panic")));
    }

    #[test]
    fn the_operator_starts_no_task_by_hand() {
        assert_none("tasks that nobody watches", &unwatched("src", sources()));
    }
}
