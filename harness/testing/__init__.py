"""For the test suites of others: a pytest plugin with one fixture, ``layerbench`` (see docs/in-your-tests.md)."""
