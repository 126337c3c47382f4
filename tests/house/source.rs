//! One Rust file: what the checks want to know of it.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, ImplItemFn, Item, ItemFn, ItemImpl, ItemMod, ItemTrait, ItemUse, Macro, Signature};
use syn::{TraitItemFn, Type, UseTree, Visibility};

/// A file, read.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Seen from the repository's root.
    pub(crate) path: String,
    pub(crate) lines: usize,
    pub(crate) functions: Vec<Function>,
    /// Paths to other modules, outside of what is compiled for tests only.
    pub(crate) mentions: Vec<Mention>,
    /// Modules in files of their own that are compiled for tests only.
    pub(crate) test_modules: Vec<String>,
    /// Lines that start a task of tokio by hand, outside of tests.
    pub(crate) spawns: Vec<usize>,
    /// Lines with a `#[path]` attribute.
    pub(crate) path_attributes: Vec<usize>,
}

/// A function with a body.
#[derive(Debug)]
pub(crate) struct Function {
    /// With its type or trait before it, if it has one: `Type::function`.
    pub(crate) name: String,
    pub(crate) line: usize,
    /// From `fn` to the closing brace.
    pub(crate) lines: usize,
    pub(crate) parameters: usize,
}

/// A path that begins with `crate`, `self` or `super`, in an import or in the code.
#[derive(Debug)]
pub(crate) struct Mention {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    /// The modules within the file that it stands in.
    pub(crate) within: Vec<String>,
}

impl Source {
    /// Reads a file. One that is not Rust fails the test.
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let source = Self { path: path.to_owned(), lines: text.lines().count(), ..Self::default() };
        let mut reader = Reader { source, within: Vec::new(), owner: None, in_tests: false };
        reader.visit_file(&file);
        reader.source
    }
}

struct Reader {
    source: Source,
    within: Vec<String>,
    /// The type or trait whose functions are read.
    owner: Option<String>,
    in_tests: bool,
}

impl Reader {
    fn mention(&mut self, segments: Vec<String>, span: Span) {
        let starts = segments.first().is_some_and(|first| is_start(first));
        if starts && segments.len() > 1 && !self.in_tests {
            let line = span.start().line;
            self.source.mentions.push(Mention { segments, line, within: self.within.clone() });
        }
    }

    fn imports(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.imports(&path.tree, &with(path.ident.to_string())),
            UseTree::Name(name) => self.mention(with(name.ident.to_string()), name.span()),
            UseTree::Rename(rename) => self.mention(with(rename.ident.to_string()), rename.span()),
            UseTree::Glob(glob) => self.mention(before.to_vec(), glob.span()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.imports(tree, before)),
        }
    }

    fn function(&mut self, signature: &Signature, body: &Block) {
        let line = signature.fn_token.span().start().line;
        let last = body.brace_token.span.close().end().line;
        let name = signature.ident.to_string();
        let name = self.owner.as_ref().map_or(name.clone(), |owner| format!("{owner}::{name}"));
        let function = Function { name, line, lines: last + 1 - line, parameters: signature.inputs.len() };
        self.source.functions.push(function);
    }

    /// What is read of something with an owner, and then with the one before it.
    fn owned_by(&mut self, owner: Option<String>, read: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.owner, owner);
        read(self);
        self.owner = before;
    }

    fn for_tests_if(&mut self, tests: bool, read: impl FnOnce(&mut Self)) {
        let before = self.in_tests;
        self.in_tests |= tests;
        read(self);
        self.in_tests = before;
    }

    /// Paths in what a macro is given, which `syn` does not parse.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (index, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) if is_start(&ident.to_string()) => {
                    self.mention(path_of(&tokens[index..]), ident.span());
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        self.for_tests_if(is_for_tests(attributes(item)), |reader| visit::visit_item(reader, item));
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let name = module.ident.to_string();
        if module.content.is_none() && self.in_tests {
            self.source.test_modules.push(name.clone());
        }
        self.within.push(name);
        self.owned_by(None, |reader| visit::visit_item_mod(reader, module));
        self.within.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.imports(&item.tree, &[]);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let owner = match &*item.self_ty {
            Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        self.owned_by(owner, |reader| visit::visit_item_impl(reader, item));
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        self.owned_by(Some(item.ident.to_string()), |reader| visit::visit_item_trait(reader, item));
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.sig, &item.block);
        self.owned_by(None, |reader| visit::visit_item_fn(reader, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(&item.sig, &item.block);
        let tests = is_for_tests(&item.attrs);
        self.for_tests_if(tests, |reader| reader.owned_by(None, |reader| visit::visit_impl_item_fn(reader, item)));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig, body);
        }
        self.owned_by(None, |reader| visit::visit_trait_item_fn(reader, item));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if !self.in_tests && segments[0] == "tokio" && segments.last().is_some_and(|last| last == "spawn") {
            self.source.spawns.push(path.span().start().line);
        }
        self.mention(segments, path.span());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    /// What may see an item is no import: nothing in it is read.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("path") {
            self.source.path_attributes.push(attribute.span().start().line);
        }
    }
}

fn is_start(segment: &str) -> bool {
    matches!(segment, "crate" | "self" | "super")
}

/// The path that these tokens begin with.
fn path_of(tokens: &[TokenTree]) -> Vec<String> {
    let mut segments = Vec::new();
    let mut rest = tokens;
    while let [TokenTree::Ident(ident), after @ ..] = rest {
        segments.push(ident.to_string());
        match after {
            [TokenTree::Punct(one), TokenTree::Punct(two), after @ ..]
                if one.as_char() == ':' && two.as_char() == ':' =>
            {
                rest = after;
            }
            _ => break,
        }
    }
    segments
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether there is a `#[cfg(test)]` among them.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    let is_test = |attribute: &Attribute| attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"));
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg") && is_test(attribute))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mentions(text: &str) -> Vec<String> {
        Source::parse("src/a.rs", text).mentions.iter().map(|mention| mention.segments.join("::")).collect()
    }

    #[test]
    fn imports_paths_in_code_and_paths_in_macros_are_found() {
        let text =
            "use crate::{b::C, d::{self, *}}; fn f(x: super::E) { println!(\"{}\", crate::g::h()); crate::i::J; }";
        assert_eq!(
            mentions(text),
            ["crate::b::C", "crate::d::self", "crate::d", "super::E", "crate::g::h", "crate::i::J"]
        );
    }

    #[test]
    fn what_is_compiled_for_tests_only_and_who_may_see_an_item_are_no_imports() {
        let text =
            "pub(in crate::a) struct A; #[cfg(test)] mod tests { use crate::b::B; } #[cfg(test)] use crate::c::C;";
        assert_eq!(mentions(text), Vec::<String>::new());
        assert_eq!(Source::parse("src/a.rs", "#[cfg(test)] mod tests; mod a;").test_modules, ["tests"]);
    }

    #[test]
    fn functions_are_measured_from_fn_to_the_closing_brace() {
        let text = "/// Says.\n#[inline]\nfn a(b: u8, c: u8) {\n    b;\n}\nimpl D {\n    fn e(&self) {}\n}\n";
        let source = Source::parse("src/a.rs", text);
        let found: Vec<_> = source.functions.iter().map(|f| (&*f.name, f.line, f.lines, f.parameters)).collect();
        assert_eq!(found, [("a", 3, 3, 2), ("D::e", 7, 1, 1)]);
    }
}
