//! Converts requests, calls the app, converts answers.
