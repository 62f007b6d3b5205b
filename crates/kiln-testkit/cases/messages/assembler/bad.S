#define BAD not_an_instruction
# 1 "other.S" 1
	BAD
#warning said by the preprocessor
	.error "told"
