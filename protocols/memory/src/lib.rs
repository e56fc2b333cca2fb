//! From edits to Automerge changes to a view, and from a JSON patch to edits.
