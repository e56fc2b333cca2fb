//! OCM, Our Collective Memory.
