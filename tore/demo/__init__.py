"""The whole project on synthetic people, and its report page."""
