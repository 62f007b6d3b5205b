enum { trigraph };
