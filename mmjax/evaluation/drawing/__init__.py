"""What people see of an evaluation: pages of letters and pictures, and the sheets on them."""
