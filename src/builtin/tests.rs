//! Steps on real files and a real database.
