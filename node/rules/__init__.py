"""Which series of a study is what, by a rule file that the site can read and change."""
