	.warning "a warning"
	.data
	.byte 300
