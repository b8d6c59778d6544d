"""Files that guides add to a copy of the project are no tests of the project."""

collect_ignore = ["inside"]
