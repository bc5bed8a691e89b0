"""The product on other machines than the one that tests it: kernels, Pythons and programs of other Debian suites."""
