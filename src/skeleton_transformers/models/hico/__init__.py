"""HiCo: instance, domain, clip and part contrast of a time-major and a space-major view of a sequence."""
