	.text
	not_an_instruction %eax
	.long 1 +
