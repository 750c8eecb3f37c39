"""Black-box tests on real sockets: whatever is a router must answer them alike."""
