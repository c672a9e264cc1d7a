"""Models, data sets, engines and measures: the application that runs methods."""
