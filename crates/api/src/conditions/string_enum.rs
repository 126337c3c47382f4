//! The macro that defines the enums of this folder.

/// Defines an enum of the strings that a field of the API may have. The name of a variant is the string itself, so
/// there is no second list that could differ from it.
macro_rules! string_enum {
    (
        $(#[$meta:meta])*
        $name:ident { $( $(#[$variant_meta:meta])* $variant:ident ),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[$variant_meta])* $variant ),+ }

        impl $name {
            /// All values.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),+ ];

            /// The string in the API.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => stringify!($variant) ),+ }
            }

            /// The value for `text`. `None` for an unknown text, such as one that another version or program wrote.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.as_str())
            }
        }

        impl PartialEq<$name> for String {
            fn eq(&self, value: &$name) -> bool {
                self == value.as_str()
            }
        }
    };
}

pub(super) use string_enum;
