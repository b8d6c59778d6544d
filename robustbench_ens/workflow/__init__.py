"""Plans of trainings and attacks, and the executors that run them."""
