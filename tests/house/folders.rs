//! Which folder may import which: each has a place in an order, and imports only what is below it.

use crate::imports::Import;

/// The operator, from top to bottom, as `docs/architecture.md` has it. Modules on one line may import each other.
const OPERATOR: &[&[&str]] = &[
    &["cli"],
    &["controllers", "conformance"],
    &["cloud", "machines", "probes"],
    &["runtime"],
    &["cluster"],
    &["provider"],
    &["state"],
    &["tasks"],
    &["telemetry"],
    &["backoff", "clock"],
];

/// The controllers. What a controller remembers from pass to pass is below all of them.
const CONTROLLERS: &[&[&str]] = &[
    &["controllers::pool"],
    &["controllers::member"],
    &["controllers::launch_config"],
    &["controllers::routing"],
    &["controllers::claim"],
    &["controllers::orphans"],
    &["controllers::first_boot"],
    &["controllers::wake"],
    &["controllers::common"],
    &["controllers::convert"],
    &[
        "controllers::first_boot::ssh_keys",
        "controllers::launch_config::health",
        "controllers::member::health::memory",
        "controllers::member::machine_memory",
        "controllers::member::probing",
        "controllers::member::tagging",
        "controllers::orphans::memory",
        "controllers::pool::memory",
    ],
];

/// The decisions.
const PLAN: &[&[&str]] = &[
    &["pool"],
    &["member"],
    &["launch"],
    &["claim"],
    &["operator"],
    &["call_rate"],
    &["provider_error"],
    &["text"],
    &["time"],
];

/// The imports that lead up.
pub(crate) fn upward(layers: &[&[&str]], imports: &[Import]) -> Vec<String> {
    let mut found: Vec<String> = imports
        .iter()
        .filter_map(|import| {
            let (from, name) = place(layers, &import.from)?;
            let (to, target) = place(layers, &import.to)?;
            let Import { file, line, words, .. } = import;
            (to < from).then(|| format!("{file}:{line}: {words}: {name} is below {target} and may not import it"))
        })
        .collect();
    found.dedup();
    found
}

/// Names in the table that are no module: none may be left behind when a folder is renamed.
pub(crate) fn unknown(layers: &[&[&str]], modules: &[Vec<String>]) -> Vec<String> {
    let is_there = |name: &str| modules.iter().any(|module| is_in(module, name));
    layers.concat().into_iter().filter(|name| !is_there(name)).map(str::to_owned).collect()
}

/// The layer of a module, counted from the top, by the longest name that it is in.
fn place<'a>(layers: &[&[&'a str]], module: &[String]) -> Option<(usize, &'a str)> {
    let names = layers.iter().enumerate().flat_map(|(index, names)| names.iter().map(move |name| (index, *name)));
    names.filter(|(_, name)| is_in(module, name)).max_by_key(|(_, name)| name.len())
}

fn is_in(module: &[String], name: &str) -> bool {
    let mut segments = module.iter();
    name.split("::").all(|part| segments.next().is_some_and(|segment| segment == part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assert_none;
    use crate::imports::{imports, modules};
    use crate::source::Source;
    use crate::tree::sources;

    const SMALL: &[&[&str]] = &[&["above"], &["below"], &["above::memory"]];

    fn of(path: &str, text: &str) -> Vec<String> {
        let others = ["src/above/mod.rs", "src/above/memory.rs", "src/below.rs"];
        let mut sources: Vec<Source> = others.into_iter().map(|path| Source::parse(path, "")).collect();
        sources.retain(|source| source.path != path);
        sources.push(Source::parse(path, text));
        upward(SMALL, &imports("src", &sources))
    }

    #[test]
    fn an_import_that_points_up_is_named() {
        let said = "src/below.rs:2: crate::above::A: below is below above and may not import it";
        assert_eq!(of("src/below.rs", "\nuse crate::above::A;"), [said]);
        let said = "src/below.rs:1: super::above::f: below is below above and may not import it";
        assert_eq!(of("src/below.rs", "fn g() { super::above::f() }"), [said]);
    }

    #[test]
    fn an_import_that_points_down_is_fine_and_so_is_one_of_a_file_with_a_place_of_its_own() {
        assert_eq!(of("src/above/mod.rs", "use crate::below::B;"), Vec::<String>::new());
        assert_eq!(of("src/below.rs", "use crate::above::memory::M;"), Vec::<String>::new());
    }

    #[test]
    fn a_name_that_is_no_module_is_named() {
        let modules = [vec!["above".to_owned()], vec!["above".to_owned(), "memory".to_owned()]];
        assert_eq!(unknown(SMALL, &modules), ["below"]);
    }

    #[test]
    fn the_folders_of_the_operator_the_controllers_and_the_decisions_import_only_what_is_below_them() {
        for (folder, layers) in [("src", OPERATOR), ("src", CONTROLLERS), ("crates/plan/src", PLAN)] {
            let modules = modules(folder, sources());
            assert_none("names in the table that are no module", &unknown(layers, &modules));
            assert_none("imports that point up", &upward(layers, &imports(folder, sources())));
        }
    }

    #[test]
    fn every_folder_has_a_place_in_the_order() {
        for (folder, layers) in [("src", OPERATOR), ("crates/plan/src", PLAN)] {
            let modules = modules(folder, sources());
            let without: Vec<String> = modules
                .iter()
                .filter(|module| !module.is_empty() && place(layers, module).is_none())
                .map(|module| module.join("::"))
                .collect();
            assert_none("modules without a place in the order", &without);
        }
    }
}
