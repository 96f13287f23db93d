"""The small family of priors, which every user has without a download."""
